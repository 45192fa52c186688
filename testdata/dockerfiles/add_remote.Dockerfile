FROM busybox
ADD https://example.org/file.txt /downloads/
ADD rootfs.tar.gz /
ADD ["a b.txt", "/c d.txt"]
WORKDIR /downloads

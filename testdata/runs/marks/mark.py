"""Files of every kind that a layer can hold and an ordinary user's namespace can make."""
import os
import struct

os.makedirs("/srv/marked/deep")
os.chmod("/srv/marked/deep", 0o2775)
with open("/srv/marked/file", "w") as file:
    file.write("marked\n")
os.link("/srv/marked/file", "/srv/marked/deep/name")
os.setxattr("/srv/marked/file", "user.mark", b"yes\0no")
os.setxattr("/srv/marked", "user.mark", b"a folder")
os.chown("/srv/marked/file", 33, 34)
os.chmod("/srv/marked/file", 0o4751)
with open("/srv/marked/capable", "w") as file:
    file.write("#!/bin/sh\n")
# VFS_CAP_REVISION_2, effective; CAP_NET_BIND_SERVICE permitted (linux/capability.h).
os.setxattr("/srv/marked/capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
with open("/srv/marked/sparse", "wb") as file:
    file.seek(1 << 20)
    file.write(b"end")
os.mkfifo("/srv/marked/pipe", 0o640)
os.symlink("nowhere", "/srv/marked/link")
os.lchown("/srv/marked/link", 5, 6)

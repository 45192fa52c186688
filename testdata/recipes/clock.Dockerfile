# A base whose programs read another clock: FAKETIME, as faketime(1) has it. The layers are the same for each OFFSET.
# Times of files stay the kernel's. What is linked statically, ldconfig for one, reads the real clock.
ARG BASE=debian
FROM debian AS faketime
RUN apt-get update && apt-get install -y --no-install-recommends libfaketime
FROM $BASE
COPY --from=faketime /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 /usr/local/lib/faketime/
RUN echo /usr/local/lib/faketime/libfaketime.so.1 > /etc/ld.so.preload
ARG OFFSET
ENV FAKETIME=$OFFSET NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1

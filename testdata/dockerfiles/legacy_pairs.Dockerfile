FROM ubuntu:22.04
MAINTAINER Someone <someone@example.org>
ENV DEBIAN_FRONTEND noninteractive
ENV PATH /opt/tool/bin:$PATH
ENV GREETING hello there world
RUN apt-get update && apt-get install -y gdal-bin
CMD /bin/bash

FROM scratch
ARG DIR_ASSETS=assets
ARG none
COPY $DIR_ASSET $DIR_ASSETS $none /x/
ENV PATH=$PAHT:/bin LATER=$LATER
ENV LATER=$PATH$LATER
WORKDIR /${gone:-default}
RUN echo $shells_know_best
LABEL a=$nothing
COPY <<EOF <<"RAW" /x/
$inline
EOF
$not_here
RAW

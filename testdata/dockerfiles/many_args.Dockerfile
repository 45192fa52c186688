FROM alpine
ARG A B=1 C=
RUN echo $A $B $C

FROM scratch
ENV A b c
LABEL d e
ENV F=g

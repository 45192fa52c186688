FROM scratch
COPY a \

  b /
# fine
COPY c \
  # a comment is no empty line
  d /

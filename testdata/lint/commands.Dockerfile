FROM scratch AS a
CMD one
CMD ["two"]
ENTRYPOINT three
HEALTHCHECK CMD four
HEALTHCHECK NONE
FROM a
SHELL ["/bin/bash", "-c"]
CMD five
ENTRYPOINT ["six"]

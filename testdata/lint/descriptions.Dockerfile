# check=experimental=all
# image is what all stands on
ARG image=scratch
# wrong
FROM $image AS base
# parted

ARG a
# also parted
#
ARG b
# a is the first of two
ARG a b
# neither
ARG a b

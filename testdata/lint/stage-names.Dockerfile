FROM scratch AS Big
FROM scratch as small
from scratch AS other
FROM scratch AS context
FROM scratch AS small
FROM scratch AS fine

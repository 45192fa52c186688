# check=skip=MaintainerDeprecated
FROM scratch AS Big
MAINTAINER me
# check=skip=LegacyKeyValueFormat,SecretsUsedInArgOrEnv
ENV TOKEN x
ENV TOKEN x

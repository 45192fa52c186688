from alpine:3.20
run apk add --no-cache curl
env A=b
copy a b
cmd ["curl", "--version"]

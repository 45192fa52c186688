# syntax=docker/dockerfile:1
FROM python:3.12-slim
RUN <<EOF
set -e
pip install flask
EOF
RUN python3 <<'PY'
print("RUN is not an instruction here")
PY
COPY <<-config.ini <<run.sh /etc/app/
	[app]
	debug = false
	config.ini
#!/bin/sh
exec flask run
run.sh
CMD ["sh", "/etc/app/run.sh"]

FROM debian:bookworm
RUN set -eux; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
		ca-certificates \
		curl \
		gnupg \
	; \
	curl -fsSL https://example.org/key.asc | gpg --dearmor > /usr/share/keyrings/x.gpg; \
	apt-get purge -y --auto-remove gnupg; \
	rm -rf /var/lib/apt/lists/*

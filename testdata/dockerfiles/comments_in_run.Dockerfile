FROM debian:bookworm-slim
RUN apt-get update \
    # the compiler
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    # and what it links
    libssl-dev \
    && rm -rf /var/lib/apt/lists/*
CMD ["bash"]

# The usual service: dependencies first, so that they are cached.
FROM python:3.12-slim AS base

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV PIP_NO_CACHE_DIR=off

WORKDIR /srv
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .

EXPOSE 8000
USER nobody
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]

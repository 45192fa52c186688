FROM python:3

WORKDIR /app

COPY .. .

RUN pip3 install psycopg boto3 requests

ENTRYPOINT python3 file_loader.py

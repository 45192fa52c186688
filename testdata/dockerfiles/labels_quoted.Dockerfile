FROM scratch
LABEL "com.example.vendor"="ACME Incorporated"
LABEL version="1.0" description="text with spaces"
LABEL multi.label1="value1" \
      multi.label2="value2"
COPY hello /
CMD ["/hello"]

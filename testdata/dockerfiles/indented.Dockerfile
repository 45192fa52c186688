  FROM alpine
  RUN echo a
	COPY a b
  # a comment
  CMD ["sh"]

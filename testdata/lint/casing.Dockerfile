from scratch
Copy a /
copy b /
ENV A=1

FROM rocker/shiny:4.4
RUN R -e "install.packages(c('sf', 'leaflet'), repos = 'https://cran.example.org')"
COPY app.R /srv/shiny-server/app.R
EXPOSE 3838
CMD ["/usr/bin/shiny-server"]

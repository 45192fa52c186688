FROM php:8.3-apache
RUN docker-php-ext-install pdo pdo_mysql && a2enmod rewrite
COPY ["my site.conf", "/etc/apache2/sites-available/000-default.conf"]
COPY --chown=www-data:www-data . /var/www/html
ONBUILD COPY . /var/www/html

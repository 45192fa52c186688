FROM ruby:3.3
ARG BUNDLE_WITHOUT="development test"
ENV RAILS_ENV=production
RUN gem install bundler
WORKDIR /rails
COPY Gemfile Gemfile.lock ./
RUN bundle install --jobs 4 --retry 3
COPY . .
RUN bundle exec rake assets:precompile
CMD ["bundle", "exec", "puma", "-C", "config/puma.rb"]

package Locus::Greeting;
our $VERSION = '1.0';
sub greeting { return 'hello' }
1;

=head1 NAME

Locus::Greeting - says hello

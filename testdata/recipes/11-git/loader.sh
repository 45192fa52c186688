#!/bin/sh
echo loads

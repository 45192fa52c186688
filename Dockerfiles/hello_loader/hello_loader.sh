# Says hello to each place, of the type FILTER when that is set; ends with 4 when there is none.
echo "hello_loader: starting"
greeted=0
while IFS=, read -r _ name type; do
  if [ -n "${FILTER:-}" ] && [ "$FILTER" != "$type" ]; then continue; fi
  echo "$GREETING, $name"
  greeted=$((greeted + 1))
done < places.sorted
echo "hello_loader: $greeted places greeted"
[ "$greeted" -gt 0 ] || exit 4

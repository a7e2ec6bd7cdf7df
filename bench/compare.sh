#!/usr/bin/env bash
# Compares the Go benchmarks of a revision with those of the working tree: both
# run by turns, so that a machine which changes its speed meanwhile does not
# decide, and benchstat says what differs.
#
#   bench/compare.sh REVISION PACKAGE [PATTERN [ROUNDS [ARGUMENTS...]]]
#   bench/compare.sh HEAD ./globaltable 'BenchmarkGet/budget=64MB' 8 -test.benchtime 1s
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
revision=$1 package=$2 pattern=${3:-.} rounds=${4:-6}
shift $(($# < 4 ? $# : 4))
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

cd "$(dirname "$0")/.."
repository=$PWD
work=$(mktemp -d)
trap 'git -C "$repository" worktree remove --force "$work/tree" || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/tree" "$revision"
(cd "$work/tree" && go test -c -o "$work/old.test" "$package")
go test -c -o "$work/new.test" "$package"
for ((round = 1; round <= rounds; round++)); do
	for which in old new; do
		echo "round $round of $rounds: $which" >&2
		tree=$repository
		[ "$which" = new ] || tree=$work/tree
		(cd "$tree/$package" && "$work/$which.test" -test.run '^$' -test.bench "$pattern" "$@") >>"$work/$which.txt"
	done
done
cd "$work"
go run "$benchstat" old.txt new.txt

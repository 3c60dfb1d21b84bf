#!/bin/sh
# Compiles every scenario program: build.sh OUTDIR [CC_FLAG...]
# x.c becomes OUTDIR/x, y.go becomes OUTDIR/go_y, z.rs OUTDIR/rs_z. Each replaces its predecessor
# in one step, so that test processes may build and run at the same time.
# For a machine without a C library add -static; the Go programs always are.
set -eu
out=${1:?usage: build.sh OUTDIR [CC_FLAG...]}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"

for source in *.c; do
	program=$out/${source%.c}
	# Frames and names stay as they are written, so that a walk by frame pointers finds
	# them; but what is deep is for a walk without.
	case $source in
	deep_*) frames=-fomit-frame-pointer ;;
	*) frames='-fno-omit-frame-pointer -fno-optimize-sibling-calls' ;;
	esac
	# shellcheck disable=SC2086
	${CC:-cc} -std=gnu11 -O2 -g -Wall -Wextra -Werror $frames -pthread "$@" -o "$program.$$" "$source"
	mv "$program.$$" "$program"
done
for source in *.go; do
	program=$out/go_${source%.go}
	GO111MODULE=off GOFLAGS= CGO_ENABLED=0 go build -o "$program.$$" "$source"
	mv "$program.$$" "$program"
done
for source in *.rs; do
	program=$out/rs_${source%.rs}
	rustc --edition 2024 -C opt-level=3 -C lto -C panic=abort -C codegen-units=1 -g \
		-C force-frame-pointers=no -o "$program.$$" "$source"
	mv "$program.$$" "$program"
done
# Python is run from its source. A test machine has none of its own: it gets the interpreter
# of this one, and of the standard library what the program and its kind import.
cp deep_python.py "$out/deep_python.py.$$"
mv "$out/deep_python.py.$$" "$out/deep_python.py"
if [ -x /usr/bin/python3.11 ]; then
	cp /usr/bin/python3.11 "$out/python3.$$"
	mv "$out/python3.$$" "$out/python3"
	"$out/python3" -I pack_python.py "$out/python3.zip.$$"
	mv "$out/python3.zip.$$" "$out/python3.zip"
fi

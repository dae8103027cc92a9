.PHONY: test race lint fuzz matrix

test:
	go test ./...

race:
	go test -race -count=1 ./...

lint:
	golangci-lint run

# make fuzz PKG=./internal/handoff TARGET=FuzzReceive TIME=1m
TIME ?= 20s
fuzz:
	go test -run '^$$' -fuzz '^$(TARGET)$$' -fuzztime $(TIME) $(PKG)

# every fault at every point: 3 minutes. Without a package go test shows the matrix also when all is well.
matrix:
	GRACE_MATRIX=all go test -count=1 -timeout 1h -parallel 16 -run '^TestMatrix$$'

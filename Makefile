.PHONY: test race lint fuzz bench

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

bench:
	go test -run '^$$' -bench . ./...

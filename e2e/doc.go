// Package e2e tests gracehttp with the proxies and clients that services meet: a service is
// upgraded ten times behind nginx and haproxy, and under wrk, h2load, curl, the clients of
// net/http, the JDK and Node.js, and a browser. None of them may notice. It also tests programs
// with dependencies of their own: a gateway from HTTP to gRPC, and servers behind cmux.
//
//	apt-get install nginx haproxy wrk nghttp2-client curl default-jdk-headless nodejs chromium
//	go test -race ./...
//
// installs the programs, on Debian, and runs the tests. A test whose program is missing is skipped,
// and says so; with GRACE_REQUIRE_E2E=1 it fails. The tests need no rights, and no network except
// the loopback interface.
package e2e

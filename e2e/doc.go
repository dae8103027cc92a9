// Package e2e tests gracehttp with the proxies and clients that services meet: a service is
// upgraded ten times behind nginx and haproxy, and under wrk, h2load, curl, the client of net/http
// and a browser. None of them may notice.
//
//	apt-get install nginx haproxy wrk nghttp2-client curl chromium
//	go test -race ./...
//
// installs the programs, on Debian, and runs the tests. A test whose program is missing is skipped,
// and says so; with GRACE_REQUIRE_E2E=1 it fails. The tests need no rights, and no network except
// the loopback interface.
package e2e

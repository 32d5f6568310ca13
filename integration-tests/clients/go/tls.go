// TLS before the endpoint: over it the SDKs leave bodies unsigned, and put checksums behind them.

package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
)

// The endpoint, and how the SDKs get there: nil is their own way.
func connect() (string, http.RoundTripper) {
	plain := os.Getenv("ENDPOINT")
	if os.Getenv("TLS") == "" {
		return plain, nil
	}
	// Of this server only its certificate is used, and the client that knows it.
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	listener := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates}))
	go func() {
		for {
			pipe(must(listener.Accept()), must(net.Dial("tcp", strings.TrimPrefix(plain, "http://"))))
		}
	}()
	return "https://" + listener.Addr().String(), server.Client().Transport
}

func pipe(from, to net.Conn) {
	one := func(into, out net.Conn) {
		io.Copy(into, out)
		into.Close()
	}
	go one(from, to)
	go one(to, from)
}

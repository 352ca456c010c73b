package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listener is a server that listens.
type Listener struct {
	URL string // e.g. http://127.0.0.1:40123, without a slash at the end
	// Roots holds the self-made certificate; nil without TLS.
	Roots *x509.CertPool

	server *http.Server
	done   sync.WaitGroup
}

// Listen serves plain HTTP at an address; "" means a free port of 127.0.0.1.
// An address that is not loopback is refused unless Options.Exposed.
func (s *Server) Listen(address string) (*Listener, error) { return s.listen(address, nil, nil) }

// ListenTLS is Listen over TLS, with a certificate made for 127.0.0.1, ::1 and
// localhost.
func (s *Server) ListenTLS(address string) (*Listener, error) {
	cert, roots, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return s.listen(address, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, roots)
}

func (s *Server) listen(address string, secure *tls.Config, roots *x509.CertPool) (*Listener, error) {
	return s.listenFor(s, address, secure, roots)
}

func (s *Server) listenFor(handler http.Handler, address string, secure *tls.Config, roots *x509.CertPool) (*Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if !s.o.Exposed && !fromLoopback(ln.Addr().String()) {
		return nil, errors.Join(fmt.Errorf("listen on %s: not a loopback address", address), ln.Close())
	}
	l := &Listener{URL: "http://" + ln.Addr().String(), Roots: roots}
	l.server = &http.Server{
		Handler: handler, TLSConfig: secure, ReadHeaderTimeout: 30 * time.Second,
		// Callers that leave are what the sandbox is for, not worth a line.
		ErrorLog:  log.New(io.Discard, "", 0),
		Protocols: new(http.Protocols),
	}
	l.server.Protocols.SetHTTP1(true)
	l.server.Protocols.SetHTTP2(s.o.HTTP2)
	if secure != nil {
		l.URL = "https://" + ln.Addr().String()
		l.done.Go(func() { _ = l.server.ServeTLS(ln, "", "") })
	} else {
		l.done.Go(func() { _ = l.server.Serve(ln) })
	}
	return l, nil
}

// Close cuts all connections and frees the port. It does not close the Server:
// one may listen again, elsewhere or at the same address.
func (l *Listener) Close() error {
	err := l.server.Close()
	l.done.Wait()
	return err
}

func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sandbox.example.invalid"},
		// Wide enough for any clock handed in.
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}

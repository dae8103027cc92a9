package httpload

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificate makes a certificate for 127.0.0.1 that is valid for a day, and its key, in files of a
// directory. The configuration is that of clients which trust it.
func Certificate(dir string) (certFile, keyFile string, trust *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", "", nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", nil, err
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return "", "", nil, err
	}
	trust = &tls.Config{RootCAs: x509.NewCertPool()}
	trust.RootCAs.AddCert(parsed)
	certFile, keyFile = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	err = errors.Join(
		writePEM(certFile, "CERTIFICATE", cert), writePEM(keyFile, "PRIVATE KEY", pkcs8),
	)
	return certFile, keyFile, trust, err
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

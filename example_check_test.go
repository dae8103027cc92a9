package grace_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-grace/grace"
)

// signedBy accepts a program with a signature by the key in a file beside it, named .sig, as made by
//
//	openssl pkeyutl -sign -rawin -inkey private.pem -in service -out service.sig
func signedBy(key ed25519.PublicKey) func(context.Context, string) error {
	return func(_ context.Context, path string) error {
		program, err := os.ReadFile(path) // the very file that will be started
		if err != nil {
			return err
		}
		name, err := filepath.EvalSymlinks(path) // where that file lies
		if err != nil {
			return err
		}
		signature, err := os.ReadFile(name + ".sig")
		if err != nil {
			return err
		}
		if !ed25519.Verify(key, program, signature) {
			return errors.New("it is not signed by the key of our releases")
		}
		return nil
	}
}

// Only what the makers of the service have signed is started.
func ExampleWithCheck() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "service")
	public, private, _ := ed25519.GenerateKey(nil) // the private key stays where the releases are made
	check := signedBy(public)

	release := []byte("the content of the program")
	_ = os.WriteFile(path, release, 0o700)
	_ = os.WriteFile(path+".sig", ed25519.Sign(private, release), 0o600)
	fmt.Println("as released:", check(ctx, path))

	_ = os.WriteFile(path, append(release, ", and more"...), 0o700)
	fmt.Println("tampered with:", check(ctx, path))

	m, err := grace.New(grace.WithExecutable(path), grace.WithCheck(check))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = m.Ready(ctx)
	if failed, ok := errors.AsType[*grace.UpgradeError](m.Upgrade(ctx)); ok {
		fmt.Printf("the upgrade fails at the %s, and this process serves on\n", failed.Step)
	}
	_ = m.Shutdown(ctx)
	// Output:
	// as released: <nil>
	// tampered with: it is not signed by the key of our releases
	// the upgrade fails at the check, and this process serves on
}

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

// signedBy returns a check that accepts a program if the file beside it with the suffix .sig holds
// its signature by the key. This command makes one:
//
//	openssl pkeyutl -sign -rawin -inkey private.pem -in service -out service.sig
func signedBy(key ed25519.PublicKey) func(context.Context, string) error {
	return func(_ context.Context, path string) error {
		program, err := os.ReadFile(path) // the same file that is started afterwards
		if err != nil {
			return err
		}
		name, err := filepath.EvalSymlinks(path) // its name outside of /proc
		if err != nil {
			return err
		}
		signature, err := os.ReadFile(name + ".sig")
		if err != nil {
			return err
		}
		if !ed25519.Verify(key, program, signature) {
			return errors.New("not signed by the key of our releases")
		}
		return nil
	}
}

// A service starts only programs that were signed with the key of its releases.
func ExampleWithCheck() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "service")
	public, private, _ := ed25519.GenerateKey(nil) // the private one never leaves the build machine
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
		fmt.Printf("the upgrade fails at the %s, and this process keeps serving\n", failed.Step)
	}
	_ = m.Shutdown(ctx)
	// Output:
	// as released: <nil>
	// tampered with: not signed by the key of our releases
	// the upgrade fails at the check, and this process keeps serving
}

// Package auth knows what a good password and a good access token are. It keeps
// nothing and asks nobody but the clock.
package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"

	"runbook/pkg/apperr"
)

// What an account may be made of. The server checks sign-ups against these;
// lengths are in characters, not bytes.
const (
	PasswordMinLength = 8
	PasswordMaxLength = 128

	UsernameMinLength = 3
	UsernameMaxLength = 32
	// UsernamePattern allows ASCII letters, digits, _ and -. Lengths are apart.
	UsernamePattern = `^[A-Za-z0-9_-]+$`

	// EmailMaxLength is what fits into an SMTP path (RFC 5321, 4.5.3.1.3).
	EmailMaxLength = 254
)

// params follow OWASP's password storage cheat sheet: 19 MiB, 2 passes, 1 lane.
// A hash carries its own, so that they can be raised later.
var params = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// absentHash costs as much to check as any other. It is of random bytes that
// nobody kept.
const absentHash = "$argon2id$v=19$m=19456,t=2,p=1$BxY8YXo2Su/8YeqUxfFMww$GlVblhjxh8j4H5ZHrdT57C3BCQblxCT771KnfjqCMZE"

// Passwords hashes and checks passwords, a few at a time: each takes 19 MiB and
// some 50 ms of a CPU, and a flood of sign-ins must not take the machine. It may
// be used by many goroutines at once.
type Passwords struct {
	slots chan struct{}
}

// NewPasswords works on at most parallel passwords at once; 0 means one per CPU.
func NewPasswords(parallel int) *Passwords {
	if parallel <= 0 {
		parallel = runtime.NumCPU()
	}
	return &Passwords{slots: make(chan struct{}, parallel)}
}

// Hash returns the argon2id hash to keep, in its usual text form. A password
// that is too short or too long is a Validation error about the field password.
// While it waits for its turn it gives up with ctx: see Check.
func (p *Passwords) Hash(ctx context.Context, password string) (hash string, err error) {
	if !hasGoodLength(password) {
		return "", apperr.InvalidFields(apperr.Field{
			Field:   "password",
			Message: fmt.Sprintf("A password has %d to %d characters.", PasswordMinLength, PasswordMaxLength),
		})
	}
	if err := p.acquire(ctx); err != nil {
		return "", err
	}
	defer p.release()
	hash, err = argon2id.CreateHash(password, params)
	if err != nil {
		return "", apperr.Wrap(err, apperr.Internal, "Internal error")
	}
	return hash, nil
}

// Check tells whether the password is the one that hash was made of. The error
// is Internal if hash is no hash, Unavailable if ctx reached its deadline before
// it was this password's turn, and context.Canceled if ctx was cancelled.
func (p *Passwords) Check(ctx context.Context, password, hash string) (bool, error) {
	if err := p.acquire(ctx); err != nil {
		return false, err
	}
	defer p.release()
	same, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, apperr.Wrap(err, apperr.Internal, "Internal error")
	}
	// No password of another length was ever hashed; looked at last, so that it
	// takes the same time.
	return same && hasGoodLength(password), nil
}

// CheckAbsent takes as long as Check, for an account that doesn't exist: the
// time of an answer must not tell who has one. Its error is that of Check.
func (p *Passwords) CheckAbsent(ctx context.Context, password string) error {
	_, err := p.Check(ctx, password, absentHash)
	return err
}

func (p *Passwords) acquire(ctx context.Context) error {
	if ctx.Err() == nil {
		select {
		case p.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return apperr.Wrap(ctx.Err(), apperr.Unavailable, "Too many people are signing in right now. Try again in a moment.")
}

func (p *Passwords) release() { <-p.slots }

func hasGoodLength(password string) bool {
	length := utf8.RuneCountInString(password)
	return length >= PasswordMinLength && length <= PasswordMaxLength
}

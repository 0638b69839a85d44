package auth_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/auth"
)

func TestAPasswordIsTheOneThatWasHashed(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(0)
	for _, password := range []string{"12345678", strings.Repeat("x", 128), strings.Repeat("é", 128), strings.Repeat("🧪", 8), "        "} {
		hash, err := p.Hash(t.Context(), password)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
		assertCheck(t, p, password, hash, true)
		for _, wrong := range []string{"", password[1:], password + "x", strings.ToUpper(password) + " ", password[:len(password)-1]} {
			assertCheck(t, p, wrong, hash, false)
		}
	}
}

func TestTheSamePasswordNeverHashesTheSame(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(2)
	one, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	two, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.NotEqual(t, one, two)
}

func TestNothingOfALongPasswordIsCutOff(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(1)
	hash, err := p.Hash(t.Context(), strings.Repeat("x", 127)+"a")
	require.NoError(t, err)
	assertCheck(t, p, strings.Repeat("x", 127)+"b", hash, false)
}

func TestAPasswordTooShortOrTooLongIsRefused(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(1)
	for _, password := range []string{"", "1234567", "ééééééé", strings.Repeat("x", 129), strings.Repeat("x", 1<<20)} {
		_, err := p.Hash(t.Context(), password)
		var refused *apperr.Error
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, apperr.Validation, refused.Code)
		assert.Equal(t, []apperr.Field{{Field: "password", Message: "A password has 8 to 128 characters."}}, refused.Fields)
	}
}

func TestAHashThatIsNoneIsInternal(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(1)
	for _, hash := range []string{"", "password", "$2y$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=19456,t=2,p=1$???$???"} {
		same, err := p.Check(t.Context(), "password", hash)
		assert.False(t, same)
		assert.Equal(t, apperr.Internal, apperr.CodeOf(err), hash)
	}
}

func TestOnlyAsManyHashesAsAllowedRunAtOnce(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(1)
	leave := p.Occupy()

	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error, 1)
	go func() { cancelled <- p.CheckAbsent(ctx, "password") }()
	cancel()
	require.ErrorIs(t, <-cancelled, context.Canceled)

	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.Hash(late, "password")
	assert.Equal(t, apperr.Unavailable, apperr.CodeOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { assert.NoError(t, p.CheckAbsent(t.Context(), "password")) })
	}
	leave()
	wg.Wait()
	_, err = p.Hash(t.Context(), "password")
	require.NoError(t, err, "every place was given back")
}

func TestWhoeverHasGoneAwayIsNotServedEvenIfThereIsRoom(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := auth.NewPasswords(1)
	for range 20 {
		require.ErrorIs(t, p.CheckAbsent(ctx, "password"), context.Canceled)
	}
}

func TestUsernames(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(auth.UsernamePattern)
	for name, want := range map[string]bool{
		"ann": true, "Ann-Lee_99": true, "": false, "ann lee": false, "ann\n": false, "änn": false, "a.b": false, "a\x00b": false,
	} {
		assert.Equal(t, want, pattern.MatchString(name), name)
	}
}

func BenchmarkHash(b *testing.B) {
	p := auth.NewPasswords(1)
	for b.Loop() {
		_, err := p.Hash(b.Context(), "correct horse")
		require.NoError(b, err)
	}
}

func assertCheck(t *testing.T, p *auth.Passwords, password, hash string, want bool) {
	t.Helper()
	same, err := p.Check(t.Context(), password, hash)
	require.NoError(t, err)
	assert.Equal(t, want, same)
}

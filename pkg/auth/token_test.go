package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/auth"
)

var (
	key   = []byte("0123456789abcdef0123456789abcdef")
	start = time.Date(2026, 11, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
)

const ttl = 12 * time.Hour

func TestATokenNamesItsUserUntilItExpires(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(start)
	tokens := newTokens(t, key, clock)
	for _, userID := range []int64{1, 42, math.MaxInt64} {
		token, expiresAt, err := tokens.Issue(userID)
		require.NoError(t, err)
		assert.Equal(t, time.Date(2026, 11, 1, 23, 0, 0, 0, time.UTC), expiresAt)
		got, err := tokens.Verify(token)
		require.NoError(t, err)
		assert.Equal(t, userID, got)
	}

	token, expiresAt, err := tokens.Issue(1)
	require.NoError(t, err)
	clock.Advance(expiresAt.Sub(clock.Now()) - time.Nanosecond)
	_, err = tokens.Verify(token)
	require.NoError(t, err)
	clock.Advance(time.Nanosecond)
	_, err = tokens.Verify(token)
	assertUnauthorized(t, err, "Your sign-in has expired. Sign in again.")
}

func TestServersWithTheSameKeyTrustEachOther(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(start)
	token, _, err := newTokens(t, key, clock).Issue(7)
	require.NoError(t, err)
	got, err := newTokens(t, key, clock).Verify(token)
	require.NoError(t, err)
	assert.Equal(t, int64(7), got)
}

func TestATokenThatIsNotGoodIsRefused(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	otherKey := []byte(strings.Repeat("k", 32))
	tokens := newTokens(t, key, clockwork.NewFakeClockAt(start))
	good, _, err := tokens.Issue(1)
	require.NoError(t, err)
	parts := strings.Split(good, ".")

	const invalid = "This access token is not valid. Sign in again."
	for name, tt := range map[string]struct {
		token string
		want  string
	}{
		"alg none":                {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), invalid},
		"alg none, by hand":       {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", invalid},
		"alg None, by hand":       {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2], invalid},
		"no alg":                  {base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT"}`)) + "." + parts[1] + "." + parts[2], invalid},
		"HS384":                   {sign(t, jwt.SigningMethodHS384, key, nil), invalid},
		"HS512":                   {sign(t, jwt.SigningMethodHS512, key, nil), invalid},
		"RS256":                   {sign(t, jwt.SigningMethodRS256, rsaKey, nil), invalid},
		"another key":             {sign(t, jwt.SigningMethodHS256, otherKey, nil), invalid},
		"no signature":            {parts[0] + "." + parts[1] + ".", invalid},
		"a changed signature":     {good[:len(good)-2] + "AA", invalid},
		"other claims":            {parts[0] + "." + strings.Split(sign(t, jwt.SigningMethodHS256, otherKey, jwt.MapClaims{"sub": "2"}), ".")[1] + "." + parts[2], invalid},
		"another audience":        {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"aud": "other"}), invalid},
		"no audience":             {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"aud": nil}), invalid},
		"another issuer":          {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"iss": "other"}), invalid},
		"no issuer":               {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"iss": nil}), invalid},
		"expired":                 {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"exp": start.Add(-time.Second).Unix()}), "Your sign-in has expired. Sign in again."},
		"expired, another key":    {sign(t, jwt.SigningMethodHS256, otherKey, jwt.MapClaims{"exp": start.Add(-time.Second).Unix()}), invalid},
		"no expiry":               {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"exp": nil}), invalid},
		"expiry of another type":  {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"exp": "tomorrow"}), invalid},
		"not good yet":            {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"nbf": start.Add(time.Minute).Unix()}), invalid},
		"a refresh token":         {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"typ": "refresh"}), invalid},
		"no type":                 {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"typ": nil}), invalid},
		"no user":                 {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": nil}), invalid},
		"user 0":                  {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": "0"}), invalid},
		"a negative user":         {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": "-1"}), invalid},
		"a user that is no id":    {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": "ann"}), invalid},
		"a user beyond all ids":   {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": "9223372036854775808"}), invalid},
		"nothing":                 {"", invalid},
		"garbage":                 {"garbage", invalid},
		"dots":                    {"..", invalid},
		"many dots":               {strings.Repeat(".", 8000), invalid},
		"bytes":                   {"\x00\xff.\x00.\x00", invalid},
		"a megabyte":              {strings.Repeat("a", 1<<20), invalid},
		"a megabyte in a claim":   {sign(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"pad": strings.Repeat("a", 1<<20)}), invalid},
		"a good one with padding": {good + "=", invalid},
		"a good one, and more":    {good + ".x", invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			userID, err := tokens.Verify(tt.token)
			assert.Zero(t, userID)
			assertUnauthorized(t, err, tt.want)
		})
	}

	// What the table spoils is good as it is.
	userID, err := tokens.Verify(sign(t, jwt.SigningMethodHS256, key, nil))
	require.NoError(t, err)
	assert.Equal(t, int64(1), userID)
}

func TestAShortKeyIsRefused(t *testing.T) {
	t.Parallel()
	for _, short := range [][]byte{nil, {}, key[1:]} {
		_, err := auth.NewTokens(short, ttl, clockwork.NewRealClock())
		require.ErrorContains(t, err, "needs 32")
	}
}

func newTokens(t *testing.T, key []byte, clock clockwork.Clock) *auth.Tokens {
	t.Helper()
	tokens, err := auth.NewTokens(key, ttl, clock)
	require.NoError(t, err)
	return tokens
}

// sign makes a token that is good but for what method, key and changes spoil; a
// change to nil removes the claim.
func sign(t *testing.T, method jwt.SigningMethod, key any, changes jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": "runbook", "aud": "runbook-api", "sub": "1", "typ": "access",
		"iat": start.Unix(), "exp": start.Add(ttl).Unix(),
	}
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	require.NoError(t, err)
	return token
}

func assertUnauthorized(t *testing.T, err error, message string) {
	t.Helper()
	var refused *apperr.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, apperr.Unauthorized, refused.Code)
	assert.Equal(t, message, refused.Message)
}

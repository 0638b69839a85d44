package auth

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jonboulle/clockwork"

	"runbook/pkg/apperr"
)

const (
	issuer   = "runbook"
	audience = "runbook-api"

	// accessType sets access tokens apart from whatever else is signed with the
	// same key.
	accessType = "access"

	// minKey is as long as the hash of HS256: RFC 7518, 3.2.
	minKey = 32
	// maxToken is refused before it is looked at; ours have some 300 bytes.
	maxToken = 8 << 10
)

// Tokens issues and verifies access tokens: JWTs signed with HS256 that name a
// user. It may be used by many goroutines at once.
type Tokens struct {
	key    []byte
	ttl    time.Duration
	clock  clockwork.Clock
	parser *jwt.Parser
}

type claims struct {
	jwt.RegisteredClaims

	Type string `json:"typ"`
}

// NewTokens signs with key, of at least 32 bytes. A token is good for ttl.
func NewTokens(key []byte, ttl time.Duration, clock clockwork.Clock) (*Tokens, error) {
	if len(key) < minKey {
		return nil, fmt.Errorf("sign access tokens: the key has %d bytes and needs %d", len(key), minKey)
	}
	return &Tokens{
		key:   key,
		ttl:   ttl,
		clock: clock,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithIssuer(issuer),
			jwt.WithAudience(audience),
			jwt.WithExpirationRequired(),
			jwt.WithStrictDecoding(),
			jwt.WithTimeFunc(clock.Now),
		),
	}, nil
}

// Issue makes a token for the user, and tells until when it is good: in UTC, and
// in whole seconds as the token has it.
func (t *Tokens) Issue(userID int64) (token string, expiresAt time.Time, err error) {
	now := t.clock.Now().UTC()
	expiresAt = now.Add(t.ttl).Truncate(time.Second)
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Audience:  jwt.ClaimStrings{audience},
			Subject:   strconv.FormatInt(userID, 10),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expiresAt),
		},
		Type: accessType,
	}).SignedString(t.key)
	if err != nil {
		return "", time.Time{}, apperr.Wrap(err, apperr.Internal, "Internal error")
	}
	return token, expiresAt, nil
}

// Verify returns the id of the user that the token names. The error is
// Unauthorized, and tells an expired token from one that never was any good.
// Whether the user still exists is not known here.
func (t *Tokens) Verify(token string) (userID int64, err error) {
	if len(token) > maxToken {
		return 0, invalid(errors.New("the token is too long"))
	}
	var c claims
	_, err = t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.key, nil })
	if errors.Is(err, jwt.ErrTokenExpired) {
		return 0, apperr.Wrap(err, apperr.Unauthorized, "Your sign-in has expired. Sign in again.")
	}
	if err != nil {
		return 0, invalid(err)
	}
	if c.Type != accessType {
		return 0, invalid(errors.New("the token is of another type"))
	}
	userID, err = strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || userID <= 0 {
		return 0, invalid(errors.New("the token names no user"))
	}
	return userID, nil
}

func invalid(err error) error {
	return apperr.Wrap(err, apperr.Unauthorized, "This access token is not valid. Sign in again.")
}

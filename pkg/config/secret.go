package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

const hidden = "[hidden]"

// Secret is a string that no way of printing, logging or encoding shows. Only
// Reveal gives it out.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return hidden }

// Format hides the secret from every verb; without it %d would print it in the
// complaint that it isn't a number.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from encoders, encoding/json among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// DatabaseURL is where a Postgres database is and how to sign in to it. Printed,
// logged or encoded it shows the place but not the password.
type DatabaseURL string

// Reveal returns the URL with its password.
func (u DatabaseURL) Reveal() string { return string(u) }

// String shows scheme, user, host and name. The query goes too: it may hold a
// password of its own.
func (u DatabaseURL) String() string {
	if u == "" {
		return ""
	}
	parsed, err := url.Parse(string(u))
	if err != nil || !u.valid() {
		return hidden
	}
	user := ""
	if parsed.User != nil {
		user = url.User(parsed.User.Username()).String() + "@"
		if _, set := parsed.User.Password(); set {
			user = url.User(parsed.User.Username()).String() + ":" + hidden + "@"
		}
	}
	return parsed.Scheme + "://" + user + parsed.Host + parsed.EscapedPath()
}

// GoString shows what String shows.
func (u DatabaseURL) GoString() string { return u.String() }

// Format shows what String shows, whatever the verb.
func (u DatabaseURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue shows what String shows.
func (u DatabaseURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText shows what String shows.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

func (u DatabaseURL) valid() bool {
	parsed, err := url.Parse(string(u))
	if err != nil || (parsed.Scheme != "postgres" && parsed.Scheme != "postgresql") {
		return false
	}
	return parsed.Host != "" || parsed.Query().Get("host") != ""
}

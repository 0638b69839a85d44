// Package config reads the settings of the server from its environment. It is
// the only reader of the environment: everything else is handed its settings.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is every setting of the server. The tags are the one truth about a
// variable: env is its name, envDefault what it is when unset or empty, must
// what a value has to be, and doc what it does.
type Config struct {
	Port int    `env:"PORT" envDefault:"8000" must:"a port from 0 to 65535" doc:"TCP port to listen on; 0 picks a free one"`
	Host string `env:"HOST" doc:"address to listen on; empty means every interface"`

	DatabaseURL    DatabaseURL   `env:"DATABASE_URL" must:"a URL such as postgres://user:password@host:5432/name" doc:"Postgres to keep everything in; empty: the server runs one in a container"`
	DataDir        string        `env:"DATA_DIR" envDefault:".data" doc:"folder for what the server itself has to keep, such as the JWT secret"`
	JWTSecret      Secret        `env:"JWT_SECRET" must:"at least 32 bytes long; make one with: openssl rand -base64 32" doc:"key that signs access tokens, at least 32 bytes; empty: made once and kept in DATA_DIR"`
	AccessTokenTTL time.Duration `env:"ACCESS_TOKEN_TTL" envDefault:"12h" must:"a duration of at least 1s, such as 12h" doc:"how long a sign-in lasts"`
	CORSOrigins    []string      `env:"CORS_ORIGIN" must:"origins such as https://app.example.org, without a path, separated by commas" doc:"web origins that may call the API, separated by commas; empty: only the server's own"`
	BodyLimit      ByteSize      `env:"BODY_LIMIT" envDefault:"2MiB" must:"a size of at least 1KiB, such as 2MiB" doc:"largest request body"`

	ContainerImage   string   `env:"CONTAINER_IMAGE" envDefault:"runbook-runtime" must:"the name of an image, without spaces" doc:"image that sessions run in"`
	ContainerRuntime string   `env:"CONTAINER_RUNTIME" doc:"runtime of the engine that sessions run under, such as runsc; empty: the engine's default"`
	CABundle         string   `env:"CA_BUNDLE" doc:"PEM file of certificate authorities handed to images and sessions; empty: those that were added to this machine; none: nothing is handed in"`
	Deployment       string   `env:"DEPLOYMENT" envDefault:"runbook" must:"1 to 40 of the characters a-z, 0-9 and -" doc:"label on everything the server makes on its engine; give each server that shares an engine, but not a database, its own"`
	SessionMemory    ByteSize `env:"SESSION_MEMORY" envDefault:"512MiB" must:"a size of at least 64MiB, such as 512MiB" doc:"memory of a session; there is no swap"`
	SessionCPUs      float64  `env:"SESSION_CPUS" envDefault:"1.0" must:"a number of CPUs from 0.1 to 1024, such as 1.5" doc:"CPUs of a session"`
	SessionPids      int      `env:"SESSION_PIDS" envDefault:"100" must:"a whole number from 16 to 32768" doc:"processes and threads of a session"`
	SessionTmpSize   ByteSize `env:"SESSION_TMP_SIZE" envDefault:"256MiB" must:"a size of at least 1MiB, such as 256MiB" doc:"room in /tmp of a session, and the largest file"`

	SessionIdle         time.Duration `env:"SESSION_IDLE" envDefault:"30m" must:"a duration of at least 1s, such as 30m" doc:"a session without activity ends after this long"`
	ExecutionTimeout    time.Duration `env:"EXECUTION_TIMEOUT" envDefault:"60s" must:"a duration above 0 and at most EXECUTION_TIMEOUT_MAX, such as 60s" doc:"how long a block without timeout= may run"`
	ExecutionTimeoutMax time.Duration `env:"EXECUTION_TIMEOUT_MAX" envDefault:"1h" must:"a duration above 0, such as 1h" doc:"the longest timeout= a block may ask for"`
	OutputLimit         ByteSize      `env:"EXECUTION_OUTPUT_LIMIT" envDefault:"256MiB" must:"a size of at least 1KiB, such as 256MiB" doc:"output after which a run is stopped"`

	LogLevel        slog.Level    `env:"LOG_LEVEL" envDefault:"info" must:"one of debug, info, warn and error" doc:"least important level that is logged: debug, info, warn or error"`
	LogFormat       LogFormat     `env:"LOG_FORMAT" envDefault:"text" must:"text or json" doc:"form of the log: text or json"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"15s" must:"a duration above 0, such as 15s" doc:"how long a stopping server waits for what is under way"`
}

// LogFormat is the form in which log records are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// minSecret is the shortest key in bytes that HS256 takes without being the
// weak part: as long as its hash.
const minSecret = 32

var deploymentName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// FromEnvironment returns the environment of the process, for Load.
func FromEnvironment() map[string]string {
	return env.ToMap(os.Environ())
}

// TestDatabaseURL is where tests may create databases, from TEST_DATABASE_URL:
// a URL whose user has the right to. It is empty when there is no such place.
func TestDatabaseURL() DatabaseURL {
	return DatabaseURL(FromEnvironment()["TEST_DATABASE_URL"])
}

// Load reads the settings from environ, a map from name to value. An empty
// value counts as unset. The error has a line for each variable that is wrong,
// not only for the first, and shows no secrets.
func Load(environ map[string]string) (Config, error) {
	if environ == nil {
		environ = map[string]string{} // nil would mean the environment of the process
	}
	var c Config
	unreadable, err := unreadableFields(env.ParseWithOptions(&c, env.Options{Environment: environ}))
	if err != nil {
		return Config{}, err
	}
	c.trimOrigins()

	good := c.inRange()
	var problems []error
	for field := range reflect.TypeFor[Config]().Fields() {
		inRange, checked := good[field.Tag.Get("env")]
		if slices.Contains(unreadable, field.Name) || (checked && !inRange) {
			problems = append(problems, problem(field, environ))
		}
	}
	if len(problems) > 0 {
		return Config{}, errors.Join(problems...)
	}
	return c, nil
}

// Address is the address to listen on, for net.Listen.
func (c Config) Address() string {
	return net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
}

// inRange tells by the name of a variable whether its value is one the server
// can work with. Variables that take any value are absent.
func (c Config) inRange() map[string]bool {
	return map[string]bool{
		"PORT":                   c.Port >= 0 && c.Port <= 65535,
		"DATABASE_URL":           c.DatabaseURL == "" || c.DatabaseURL.valid(),
		"JWT_SECRET":             c.JWTSecret == "" || len(c.JWTSecret) >= minSecret,
		"ACCESS_TOKEN_TTL":       c.AccessTokenTTL >= time.Second,
		"CORS_ORIGIN":            !slices.ContainsFunc(c.CORSOrigins, isNoOrigin),
		"BODY_LIMIT":             c.BodyLimit >= KiB,
		"CONTAINER_IMAGE":        !strings.ContainsAny(c.ContainerImage, " \t\r\n"),
		"DEPLOYMENT":             deploymentName.MatchString(c.Deployment),
		"SESSION_MEMORY":         c.SessionMemory >= 64*MiB,
		"SESSION_CPUS":           c.SessionCPUs >= 0.1 && c.SessionCPUs <= 1024,
		"SESSION_PIDS":           c.SessionPids >= 16 && c.SessionPids <= 32768,
		"SESSION_TMP_SIZE":       c.SessionTmpSize >= MiB,
		"SESSION_IDLE":           c.SessionIdle >= time.Second,
		"EXECUTION_TIMEOUT":      c.ExecutionTimeout > 0 && (c.ExecutionTimeoutMax <= 0 || c.ExecutionTimeout <= c.ExecutionTimeoutMax),
		"EXECUTION_TIMEOUT_MAX":  c.ExecutionTimeoutMax > 0,
		"EXECUTION_OUTPUT_LIMIT": c.OutputLimit >= KiB,
		"LOG_FORMAT":             c.LogFormat == LogText || c.LogFormat == LogJSON,
		"SHUTDOWN_TIMEOUT":       c.ShutdownTimeout > 0,
	}
}

// trimOrigins allows spaces after the commas and a comma at the end.
func (c *Config) trimOrigins() {
	var origins []string
	for _, origin := range c.CORSOrigins {
		if origin = strings.TrimSpace(origin); origin != "" {
			origins = append(origins, origin)
		}
	}
	c.CORSOrigins = origins
}

// isNoOrigin refuses * too: the API is called with credentials, and browsers
// don't combine the two.
func isNoOrigin(s string) bool {
	u, err := url.Parse(s)
	return err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || s != u.Scheme+"://"+u.Host
}

// unreadableFields gives the names of the fields whose value is not of their
// type. Any other error is a mistake in the tags of Config.
func unreadableFields(err error) ([]string, error) {
	if err == nil {
		return nil, nil
	}
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	var fields []string
	for _, err := range aggregate.Errors {
		parse, ok := errors.AsType[env.ParseError](err)
		if !ok {
			return nil, fmt.Errorf("read the environment: %w", err)
		}
		fields = append(fields, parse.Name)
	}
	return fields, nil
}

func problem(field reflect.StructField, environ map[string]string) error {
	name, must := field.Tag.Get("env"), field.Tag.Get("must")
	switch field.Type {
	case reflect.TypeFor[Secret](), reflect.TypeFor[DatabaseURL]():
		return fmt.Errorf("%s must be %s", name, must)
	}
	value := environ[name]
	if value == "" {
		value = field.Tag.Get("envDefault")
	}
	return fmt.Errorf("%s must be %s, not %q", name, must, value)
}

// Variable describes one setting to the people who set it.
type Variable struct {
	Name    string
	Default string // as it would be written in the environment; empty means none
	Doc     string
}

// Describe lists every variable that Load reads, in the order of Config.
func Describe() []Variable {
	var all []Variable
	for field := range reflect.TypeFor[Config]().Fields() {
		all = append(all, Variable{
			Name:    field.Tag.Get("env"),
			Default: field.Tag.Get("envDefault"),
			Doc:     field.Tag.Get("doc"),
		})
	}
	return all
}

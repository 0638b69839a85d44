package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/config"
)

var update = flag.Bool("update", false, "write .env.example anew")

func TestAnEmptyEnvironmentGivesTheDefaults(t *testing.T) {
	t.Parallel()
	want := config.Config{
		Port:                8000,
		DataDir:             ".data",
		AccessTokenTTL:      12 * time.Hour,
		BodyLimit:           2 * config.MiB,
		ContainerImage:      "runbook-runtime",
		Deployment:          "runbook",
		SessionMemory:       512 * config.MiB,
		SessionCPUs:         1,
		SessionPids:         100,
		SessionTmpSize:      256 * config.MiB,
		SessionIdle:         30 * time.Minute,
		ExecutionTimeout:    time.Minute,
		ExecutionTimeoutMax: time.Hour,
		OutputLimit:         256 * config.MiB,
		LogLevel:            slog.LevelInfo,
		LogFormat:           config.LogText,
		ShutdownTimeout:     15 * time.Second,
	}
	for name, environ := range map[string]map[string]string{
		"nil":          nil,
		"empty":        {},
		"empty values": {"PORT": "", "SESSION_IDLE": "", "JWT_SECRET": "", "CORS_ORIGIN": ""},
	} {
		got, err := config.Load(environ)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
}

func TestNilDoesNotMeanTheEnvironmentOfTheProcess(t *testing.T) {
	t.Setenv("PORT", "9999")
	got, err := config.Load(nil)
	require.NoError(t, err)
	assert.Equal(t, 8000, got.Port)

	got, err = config.Load(config.FromEnvironment())
	require.NoError(t, err)
	assert.Equal(t, 9999, got.Port)
}

func TestEveryVariableIsRead(t *testing.T) {
	t.Parallel()
	got, err := config.Load(map[string]string{
		"PORT":                   "0",
		"HOST":                   "::1",
		"DATABASE_URL":           "postgres://u:p@db:5432/runbook",
		"DATA_DIR":               "/var/lib/runbook",
		"JWT_SECRET":             strings.Repeat("s", 32),
		"ACCESS_TOKEN_TTL":       "15m",
		"CORS_ORIGIN":            "https://a.example.org, http://localhost:5173,",
		"BODY_LIMIT":             "4MiB",
		"CONTAINER_IMAGE":        "registry.example.org/runtime:1",
		"CONTAINER_RUNTIME":      "runsc",
		"CA_BUNDLE":              "none",
		"DEPLOYMENT":             "blue-2",
		"SESSION_MEMORY":         "1g",
		"SESSION_CPUS":           "0.5",
		"SESSION_PIDS":           "64",
		"SESSION_TMP_SIZE":       "64m",
		"SESSION_IDLE":           "1h",
		"EXECUTION_TIMEOUT":      "5m",
		"EXECUTION_TIMEOUT_MAX":  "10m",
		"EXECUTION_OUTPUT_LIMIT": "1024",
		"LOG_LEVEL":              "DEBUG",
		"LOG_FORMAT":             "json",
		"SHUTDOWN_TIMEOUT":       "3s",
	})
	require.NoError(t, err)
	assert.Equal(t, config.Config{
		Port:                0,
		Host:                "::1",
		DatabaseURL:         "postgres://u:p@db:5432/runbook",
		DataDir:             "/var/lib/runbook",
		JWTSecret:           config.Secret(strings.Repeat("s", 32)),
		AccessTokenTTL:      15 * time.Minute,
		CORSOrigins:         []string{"https://a.example.org", "http://localhost:5173"},
		BodyLimit:           4 * config.MiB,
		ContainerImage:      "registry.example.org/runtime:1",
		ContainerRuntime:    "runsc",
		CABundle:            "none",
		Deployment:          "blue-2",
		SessionMemory:       config.GiB,
		SessionCPUs:         0.5,
		SessionPids:         64,
		SessionTmpSize:      64 * config.MiB,
		SessionIdle:         time.Hour,
		ExecutionTimeout:    5 * time.Minute,
		ExecutionTimeoutMax: 10 * time.Minute,
		OutputLimit:         config.KiB,
		LogLevel:            slog.LevelDebug,
		LogFormat:           config.LogJSON,
		ShutdownTimeout:     3 * time.Second,
	}, got)
	assert.Equal(t, "[::1]:0", got.Address())
}

func TestAValueThatCanNotWorkIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"PORT", "abc", `PORT must be a port from 0 to 65535, not "abc"`},
		{"PORT", "70000", `PORT must be a port from 0 to 65535, not "70000"`},
		{"PORT", "-1", `PORT must be`},
		{"DATABASE_URL", "mysql://u:hunter2@db/x", `DATABASE_URL must be a URL such as postgres://`},
		{"DATABASE_URL", "postgres://u:hunter2%zz@db/x", `DATABASE_URL must be a URL such as postgres://`},
		{"DATABASE_URL", "host=db password=hunter2", `DATABASE_URL must be a URL such as postgres://`},
		{"DATABASE_URL", "postgres://", `DATABASE_URL must be a URL such as postgres://`},
		{"JWT_SECRET", strings.Repeat("hunter2", 4), `JWT_SECRET must be at least 32 bytes long; make one with: openssl rand -base64 32`},
		{"ACCESS_TOKEN_TTL", "0s", `ACCESS_TOKEN_TTL must be a duration of at least 1s`},
		{"CORS_ORIGIN", "*", `CORS_ORIGIN must be origins such as https://app.example.org`},
		{"CORS_ORIGIN", "app.example.org", `CORS_ORIGIN must be`},
		{"CORS_ORIGIN", "https://app.example.org/", `CORS_ORIGIN must be`},
		{"CORS_ORIGIN", "https://ok.example.org,ftp://app.example.org", `CORS_ORIGIN must be`},
		{"BODY_LIMIT", "1", `BODY_LIMIT must be a size of at least 1KiB`},
		{"CONTAINER_IMAGE", "two words", `CONTAINER_IMAGE must be`},
		{"DEPLOYMENT", "Blue", `DEPLOYMENT must be`},
		{"DEPLOYMENT", strings.Repeat("a", 41), `DEPLOYMENT must be`},
		{"SESSION_MEMORY", "12 parsecs", `SESSION_MEMORY must be a size of at least 64MiB, such as 512MiB, not "12 parsecs"`},
		{"SESSION_MEMORY", "1m", `SESSION_MEMORY must be`},
		{"SESSION_CPUS", "0", `SESSION_CPUS must be`},
		{"SESSION_CPUS", "NaN", `SESSION_CPUS must be`},
		{"SESSION_PIDS", "1", `SESSION_PIDS must be`},
		{"SESSION_TMP_SIZE", "-1", `SESSION_TMP_SIZE must be`},
		{"SESSION_IDLE", "30", `SESSION_IDLE must be a duration of at least 1s, such as 30m, not "30"`},
		{"EXECUTION_TIMEOUT", "2h", `EXECUTION_TIMEOUT must be a duration above 0 and at most EXECUTION_TIMEOUT_MAX, such as 60s, not "2h"`},
		{"EXECUTION_TIMEOUT_MAX", "-1h", `EXECUTION_TIMEOUT_MAX must be`},
		{"EXECUTION_OUTPUT_LIMIT", "0", `EXECUTION_OUTPUT_LIMIT must be`},
		{"LOG_LEVEL", "chatty", `LOG_LEVEL must be one of debug, info, warn and error, not "chatty"`},
		{"LOG_FORMAT", "xml", `LOG_FORMAT must be text or json, not "xml"`},
		{"SHUTDOWN_TIMEOUT", "0s", `SHUTDOWN_TIMEOUT must be`},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(map[string]string{tt.name: tt.value})
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, err.Error(), "\n", "only one variable is wrong")
			assert.NotContains(t, err.Error(), "hunter2", "secrets stay hidden")
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(map[string]string{"SESSION_IDLE": "soon", "PORT": "x", "LOG_FORMAT": "xml", "JWT_SECRET": "short"})
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 4)
	for i, name := range []string{"PORT", "JWT_SECRET", "SESSION_IDLE", "LOG_FORMAT"} {
		assert.True(t, strings.HasPrefix(lines[i], name+" must be "), lines[i])
	}
}

func TestAPrintedConfigShowsNoSecrets(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"JWT_SECRET":   strings.Repeat("hunter2", 5),
		"DATABASE_URL": "postgres://ann:hunter2@db:5432/runbook?sslpassword=hunter2",
	})
	require.NoError(t, err)
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("x", "config", c, "secret", c.JWTSecret, "database", c.DatabaseURL)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "secret", c.JWTSecret, "database", c.DatabaseURL)
	encoded, err := json.Marshal(c)
	require.NoError(t, err)

	shown := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
		shown += fmt.Sprintf(verb+verb+verb, c, c.JWTSecret, c.DatabaseURL)
	}
	assert.NotContains(t, shown, "hunter2")
	assert.NotContains(t, shown, fmt.Sprintf("%x", "hunter2"))
	assert.Contains(t, shown, "postgres://ann:[hidden]@db:5432/runbook")
	assert.Equal(t, strings.Repeat("hunter2", 5), c.JWTSecret.Reveal())
	assert.Equal(t, "postgres://ann:hunter2@db:5432/runbook?sslpassword=hunter2", c.DatabaseURL.Reveal())
}

func TestADatabaseURLThatCanNotBeReadIsHiddenWhole(t *testing.T) {
	t.Parallel()
	for url, want := range map[config.DatabaseURL]string{
		"":                             "",
		"postgres://db/runbook":        "postgres://db/runbook",
		"postgres://ann@db/runbook":    "postgres://ann@db/runbook",
		"host=db password=hunter2":     "[hidden]",
		"postgres://u:hunter2%zz@db/x": "[hidden]",
	} {
		assert.Equal(t, want, url.String())
	}
}

func TestByteSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.ByteSize{
		"0": 0, "1": 1, "1048576": config.MiB, "10b": 10, "2k": 2 * config.KiB, "512MiB": 512 * config.MiB,
		"256m": 256 * config.MiB, "256 MB": 256 * config.MiB, "1GiB": config.GiB, "3t": 3 * config.TiB,
	} {
		var got config.ByteSize
		require.NoError(t, got.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, got, text)

		var again config.ByteSize
		require.NoError(t, again.UnmarshalText([]byte(got.String())))
		assert.Equal(t, got, again, "String of %s reads back", text)
	}
	for _, text := range []string{"", "m", "-1", "1.5g", "1x", "5 1m", "1mm", "9223372036854775807k", "99999999999999999999"} {
		var got config.ByteSize
		assert.Error(t, got.UnmarshalText([]byte(text)), text)
	}
}

func TestEveryVariableIsDescribed(t *testing.T) {
	t.Parallel()
	all := config.Describe()
	require.Len(t, all, 23)
	for _, v := range all {
		assert.NotEmpty(t, v.Name)
		assert.NotEmpty(t, v.Doc, v.Name)
	}
}

// The file is written by this test: go test ./pkg/config -update.
func TestTheExampleListsEveryVariableWithItsDefault(t *testing.T) {
	t.Parallel()
	const path = "../../.env.example"
	want := "# Every setting of the server, with its default. All are optional.\n"
	for _, v := range config.Describe() {
		want += fmt.Sprintf("\n# %s\n#%s=%s\n", v.Doc, v.Name, v.Default)
	}
	assertFile(t, path, want)
}

// The table is written by this test: go test ./pkg/config -update.
func TestTheReadmeTellsOfEveryVariable(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../README.md", "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
	readme, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(readme), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	table := "| variable | default | |\n|---|---|---|\n"
	for _, v := range config.Describe() {
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", v.Name, value, v.Doc)
	}
	assertFile(t, path, before+begin+table+end+after)
}

// assertFile compares a file with what it should be, or writes it with -update.
func assertFile(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: go test ./pkg/config -update")
}

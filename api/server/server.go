// Package server is the HTTP API. It is the only importer of Echo: a file per
// resource, one handler of errors, and nothing that another package should know.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-playground/validator/v10"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	echoswagger "github.com/swaggo/echo-swagger"

	"runbook/docs"
	"runbook/pkg/auth"
	"runbook/pkg/execution"
	"runbook/pkg/runbook"
	"runbook/pkg/sandbox"
	"runbook/pkg/session"
	"runbook/pkg/store"
)

const (
	headerPatience = 10 * time.Second
	bodyPatience   = 30 * time.Second
	idlePatience   = 2 * time.Minute
	// maxHeader bounds a request's headers, and with them a token, in bytes.
	maxHeader = 64 << 10
)

// Settings are what a deployment may choose of its API.
type Settings struct {
	// BodyLimit is the largest request body in bytes.
	BodyLimit int64
	// CORSOrigins may call the API from a browser.
	CORSOrigins []string
	// Limits are what documents have to keep to.
	Limits runbook.Limits
	// PingInterval is how long a stream may be silent; 0 means 15 s.
	PingInterval time.Duration
	// StallLimit is how long a reader may take nothing; 0 means 30 s.
	StallLimit time.Duration
}

// Services are what the handlers call.
type Services struct {
	Store      *store.Store
	Engine     *sandbox.Engine
	Sessions   *session.Service
	Executions *execution.Registry
	Tokens     *auth.Tokens
	Passwords  *auth.Passwords
}

// Server serves the API.
type Server struct {
	Services
	settings Settings
	log      *slog.Logger
	validate *validator.Validate
	http     *http.Server
}

const (
	defaultPingInterval = 15 * time.Second
	defaultStallLimit   = 30 * time.Second
)

// New makes a server that doesn't listen yet.
//
//	@title			Runbook API
//	@version		1.0
//	@description	Documentation that can run: Markdown with runnable blocks, each user's in a container of their own.
//	@description	Errors are RFC 9457 problems with a stable `code`. Execution streams are NDJSON: one chunk a line.
//	@license.name	MIT
//	@BasePath		/api
//	@securityDefinitions.apikey	Bearer
//	@in							header
//	@name						Authorization
//	@description				The word Bearer, a space and the accessToken from signup or signin.
func New(services Services, settings Settings, log *slog.Logger) *Server {
	if settings.PingInterval == 0 {
		settings.PingInterval = defaultPingInterval
	}
	if settings.StallLimit == 0 {
		settings.StallLimit = defaultStallLimit
	}
	s := &Server{Services: services, settings: settings, log: log, validate: newValidator()}
	s.http = &http.Server{
		Handler:           s.router(),
		ReadHeaderTimeout: headerPatience,
		IdleTimeout:       idlePatience,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers requests until Shutdown.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Shutdown takes no more requests and waits for those under way. Streams must
// have been ended before.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

func (s *Server) router() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = s.handleError
	e.IPExtractor = echo.ExtractIPDirect()
	e.Use(middleware.RequestID(), s.logRequests(), middleware.Recover(), middleware.Secure())
	if len(s.settings.CORSOrigins) > 0 {
		e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
			AllowOrigins:  s.settings.CORSOrigins,
			AllowHeaders:  []string{echo.HeaderAuthorization, echo.HeaderContentType, headerIfMatch},
			AllowMethods:  []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
			ExposeHeaders: []string{headerETag, echo.HeaderXRequestID, echo.HeaderLocation},
		}))
	}
	e.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/swagger/index.html") })
	e.GET("/swagger/*", echoswagger.WrapHandler)
	e.GET("/health", s.health)
	e.GET("/ready", s.ready)
	e.GET("/api/openapi.json", func(c echo.Context) error {
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, docs.OpenAPI)
	})
	s.routes(e.Group("/api"))
	return e
}

func (s *Server) routes(api *echo.Group) {
	api.GET("/health", s.health)
	api.GET("/ready", s.ready)
	api.POST("/auth/signup", s.signUp)
	api.POST("/auth/signin", s.signIn)

	// A group with middleware would answer a wrong method as an unknown route.
	own := func(method, path string, handler echo.HandlerFunc) { api.Add(method, path, handler, s.authenticate) }
	own(http.MethodGet, "/auth/profile", s.profile)

	own(http.MethodGet, "/runbooks", s.listRunbooks)
	own(http.MethodPost, "/runbooks", s.createRunbook)
	own(http.MethodGet, "/runbooks/:id", s.getRunbook)
	own(http.MethodPut, "/runbooks/:id", s.updateRunbook)
	own(http.MethodDelete, "/runbooks/:id", s.deleteRunbook)
	own(http.MethodGet, "/runbooks/:id/runnable-blocks", s.runnableBlocks)
	own(http.MethodGet, "/runbooks/:id/file-blocks", s.fileBlocks)

	own(http.MethodPost, "/sessions/connect/:userId/:runbookId", s.connect)
	own(http.MethodGet, "/sessions", s.listSessions)
	own(http.MethodGet, "/sessions/:id", s.getSession)
	own(http.MethodGet, "/sessions/active/:userId/:runbookId", s.activeSession)
	own(http.MethodPost, "/sessions/:id/keepalive", s.keepAlive)
	own(http.MethodDelete, "/sessions/end/:id", s.endSession)

	own(http.MethodPost, "/executions/exec-block", s.execBlock)
	own(http.MethodPost, "/executions/:id/cancel", s.cancelExecution)
	own(http.MethodPost, "/executions/:id/stdin", s.writeStdin)
}

// logRequests writes a line for each request, without its body and its query.
func (s *Server) logRequests() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogMethod: true, LogURIPath: true, LogStatus: true, LogLatency: true, LogRequestID: true, LogError: true,
		HandleError: true, // so that the status is the one that is sent
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			level := slog.LevelInfo
			attributes := []slog.Attr{
				slog.String("method", v.Method),
				slog.String("path", v.URIPath),
				slog.Int("status", v.Status),
				slog.Duration("took", v.Latency),
				slog.String("request", v.RequestID),
			}
			if id, ok := c.Get(userKey).(int64); ok {
				attributes = append(attributes, slog.Int64("user", id))
			}
			if v.Status >= http.StatusInternalServerError {
				level = slog.LevelError
				attributes = append(attributes, slog.Any("error", v.Error))
			}
			s.log.LogAttrs(c.Request().Context(), level, "request", attributes...)
			return nil
		},
	})
}

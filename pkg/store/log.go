package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// queryLog writes GORM's log to slog, at debug. Failures are not logged as such
// here: they are returned, and whoever ends the request logs them once.
type queryLog struct {
	logger *slog.Logger
}

// ParamsFilter keeps values out of the log: they are passwords' hashes, code
// and text of users.
func (l queryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

// LogMode is asked for by GORM's debug helpers; the level is slog's affair.
func (l queryLog) LogMode(logger.LogLevel) logger.Interface { return l }

func (l queryLog) Info(ctx context.Context, format string, args ...any) { l.debug(ctx, format, args) }

func (l queryLog) Warn(ctx context.Context, format string, args ...any) { l.debug(ctx, format, args) }

func (l queryLog) Error(ctx context.Context, format string, args ...any) { l.debug(ctx, format, args) }

func (l queryLog) debug(ctx context.Context, format string, args []any) {
	l.logger.DebugContext(ctx, "gorm", "message", fmt.Sprintf(format, args...))
}

func (l queryLog) Trace(ctx context.Context, begin time.Time, query func() (string, int64), err error) {
	if !l.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	sql, rows := query()
	l.logger.DebugContext(ctx, "query", "sql", sql, "rows", rows, "duration", time.Since(begin), "error", err)
}

package server

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// Health says that the server lives.
type Health struct {
	Status string `json:"status" enums:"ok" example:"ok"`
} // @name Health

// Readiness says which parts the server can reach: "ok", or what is wrong.
type Readiness struct {
	Status   string `json:"status" enums:"ok,unavailable"`
	Database string `json:"database" example:"ok"`
	Engine   string `json:"engine" example:"ok"`
} // @name Readiness

const statusOK = "ok"

// health answers as long as the server lives.
//
//	@Summary	Does the server live?
//	@Tags		operations
//	@Produce	json
//	@Success	200	{object}	Health
//	@Router		/health [get]
func (s *Server) health(c echo.Context) error {
	return c.JSON(http.StatusOK, Health{Status: statusOK})
}

// ready tells whether the server can do its work.
//
//	@Summary	Can the server do its work?
//	@Tags		operations
//	@Produce	json
//	@Success	200	{object}	Readiness
//	@Failure	503	{object}	Readiness
//	@Router		/ready [get]
func (s *Server) ready(c echo.Context) error {
	ctx := c.Request().Context()
	answer := Readiness{Status: statusOK, Database: part(s.Store.Ping(ctx)), Engine: part(s.Engine.Ping(ctx))}
	if answer.Database != statusOK || answer.Engine != statusOK {
		answer.Status = "unavailable"
		return c.JSON(http.StatusServiceUnavailable, answer)
	}
	return c.JSON(http.StatusOK, answer)
}

func part(err error) string {
	if err != nil {
		return "out of reach"
	}
	return statusOK
}

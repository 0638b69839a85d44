package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
	"runbook/pkg/runbook"
	"runbook/pkg/store"
)

// SignUpRequest makes an account.
type SignUpRequest struct {
	Username string `json:"username" validate:"required,min=3,max=32,username" minLength:"3" maxLength:"32" example:"ada"`
	Email    string `json:"email" validate:"required,max=254,email" maxLength:"254" example:"ada@example.org"`
	Password string `json:"password" validate:"required,min=8,max=128" minLength:"8" maxLength:"128" example:"correct horse"`
} // @name SignUpRequest

// SignInRequest opens an account.
type SignInRequest struct {
	Email    string `json:"email" validate:"required" example:"ada@example.org"`
	Password string `json:"password" validate:"required" example:"correct horse"`
} // @name SignInRequest

// User is an account as its owner sees it.
type User struct {
	ID       int64  `json:"id" example:"1"`
	Username string `json:"username" example:"ada"`
	Email    string `json:"email" example:"ada@example.org"`
} // @name User

// Authorization is what a sign-in gives. The accessToken goes into the header
// Authorization, after the word Bearer.
type Authorization struct {
	AccessToken string    `json:"accessToken"`
	ExpiresAt   time.Time `json:"expiresAt"`
	User        User      `json:"user"`
} // @name Authorization

// signUp makes an account, with the Tour as its first runbook.
//
//	@Summary	Make an account
//	@Tags		auth
//	@Accept		json
//	@Produce	json,application/problem+json
//	@Param		body	body		SignUpRequest	true	"The account"
//	@Success	201		{object}	Authorization
//	@Failure	400,409,413,415,422,500,503	{object}	Problem
//	@Router		/auth/signup [post]
func (s *Server) signUp(c echo.Context) error {
	var request SignUpRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	ctx := c.Request().Context()
	hash, err := s.Passwords.Hash(ctx, request.Password)
	if err != nil {
		return err
	}
	user := &store.User{Username: request.Username, Email: request.Email, PasswordHash: hash}
	tour := &store.Runbook{Title: runbook.TourTitle, Content: runbook.Tour, Privacy: store.Private}
	if err := s.Store.CreateUser(ctx, user, tour); err != nil {
		return err
	}
	return s.authorize(c, http.StatusCreated, user)
}

// signIn opens an account. Its answer, and the time it takes, don't tell whether
// there is an account.
//
//	@Summary	Sign in
//	@Tags		auth
//	@Accept		json
//	@Produce	json,application/problem+json
//	@Param		body	body		SignInRequest	true	"The credentials"
//	@Success	200		{object}	Authorization
//	@Failure	400,401,413,415,422,500,503	{object}	Problem
//	@Router		/auth/signin [post]
func (s *Server) signIn(c echo.Context) error {
	var request SignInRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	ctx := c.Request().Context()
	user, err := s.Store.FindUserByEmail(ctx, request.Email)
	if apperr.Is(err, apperr.NotFound) {
		if err := s.Passwords.CheckAbsent(ctx, request.Password); err != nil {
			return err
		}
		return badCredentials()
	}
	if err != nil {
		return err
	}
	ok, err := s.Passwords.Check(ctx, request.Password, user.PasswordHash)
	if err != nil {
		return err
	}
	if !ok {
		return badCredentials()
	}
	return s.authorize(c, http.StatusOK, user)
}

func badCredentials() error {
	return apperr.New(apperr.BadCredentials, "The email or the password is wrong.")
}

func (s *Server) authorize(c echo.Context, status int, user *store.User) error {
	token, expiresAt, err := s.Tokens.Issue(user.ID)
	if err != nil {
		return err
	}
	return c.JSON(status, Authorization{AccessToken: token, ExpiresAt: expiresAt, User: newUser(user)})
}

// profile tells who the caller is.
//
//	@Summary	The own account
//	@Tags		auth
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Success	200	{object}	User
//	@Failure	401,404,500,503	{object}	Problem
//	@Router		/auth/profile [get]
func (s *Server) profile(c echo.Context) error {
	user, err := s.Store.FindUserByID(c.Request().Context(), userID(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newUser(user))
}

func newUser(user *store.User) User {
	return User{ID: user.ID, Username: user.Username, Email: user.Email}
}

// userKey is where authenticate leaves the caller's id.
const userKey = "user"

// authenticate lets only requests with a good token through.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		scheme, token, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return apperr.New(apperr.Unauthorized, "Sign in, and send the header Authorization: Bearer <accessToken>.")
		}
		id, err := s.Tokens.Verify(token)
		if err != nil {
			return err
		}
		c.Set(userKey, id)
		return next(c)
	}
}

// userID is the caller, on routes behind authenticate.
func userID(c echo.Context) int64 {
	id, ok := c.Get(userKey).(int64)
	if !ok {
		panic("userID on a route without authenticate")
	}
	return id
}

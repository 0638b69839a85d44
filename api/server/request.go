package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"
	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
	"runbook/pkg/auth"
)

const (
	headerIfMatch = "If-Match"
	headerETag    = "ETag"

	defaultPage = 50
	maxPage     = 100
)

// decode reads a JSON body into a struct and validates it.
func (s *Server) decode(c echo.Context, into any) error {
	mediaType, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || mediaType != echo.MIMEApplicationJSON {
		return apperr.New(apperr.UnsupportedMediaType, "Send the body as JSON, with the header Content-Type: application/json.")
	}
	body, err := s.readBody(c)
	if err != nil {
		return err
	}
	if err := decodeJSON(body, into); err != nil {
		return err
	}
	return s.check(into)
}

func (s *Server) readBody(c echo.Context) ([]byte, error) {
	// A client that sends its body byte by byte must not hold the request for ever.
	controller := http.NewResponseController(c.Response())
	if err := controller.SetReadDeadline(time.Now().Add(bodyPatience)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, s.settings.BodyLimit))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, apperr.New(apperr.TooLarge, "The body is larger than %d bytes.", tooLarge.Limit)
	}
	if err != nil {
		return nil, apperr.Wrap(err, apperr.Invalid, "The body could not be read to its end.")
	}
	return body, controller.SetReadDeadline(time.Time{})
}

func decodeJSON(body []byte, into any) error {
	if !utf8.Valid(body) {
		return apperr.New(apperr.Invalid, "The body is not valid UTF-8.")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(into); err != nil {
		return malformed(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return apperr.New(apperr.Invalid, "The body must be one JSON object and nothing after it.")
	}
	if field, found := fieldWithNUL(reflect.ValueOf(into).Elem()); found {
		return &apperr.Error{
			Code: apperr.Invalid, Message: "Text must not contain the NUL character.",
			Fields: []apperr.Field{{Field: field, Message: "contains the NUL character"}},
		}
	}
	return nil
}

func malformed(err error) error {
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrongType.Field != "" {
		return &apperr.Error{
			Code: apperr.Invalid, Message: "A field has the wrong type.", Err: err,
			Fields: []apperr.Field{{Field: wrongType.Field, Message: "must not be a " + wrongType.Value}},
		}
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return apperr.Wrap(err, apperr.Invalid, "The body is not valid JSON: there is a mistake at byte %d.", syntax.Offset)
	}
	return apperr.Wrap(err, apperr.Invalid, "The body is not a valid JSON object.")
}

// fieldWithNUL finds a string that Postgres could not store.
func fieldWithNUL(request reflect.Value) (string, bool) {
	if request.Kind() != reflect.Struct {
		return "", false
	}
	for field, value := range request.Fields() {
		if value.Kind() == reflect.Pointer {
			value = value.Elem()
		}
		if value.Kind() == reflect.String && strings.ContainsRune(value.String(), 0) {
			return jsonName(field), true
		}
	}
	return "", false
}

func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

var usernamePattern = regexp.MustCompile(auth.UsernamePattern)

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(jsonName)
	if err := v.RegisterValidation("username", func(level validator.FieldLevel) bool {
		return usernamePattern.MatchString(level.Field().String())
	}); err != nil {
		panic(err) // only for an empty name
	}
	return v
}

// check tells every field that is wrong, and how it would be right.
func (s *Server) check(request any) error {
	err := s.validate.Struct(request)
	invalid, ok := errors.AsType[validator.ValidationErrors](err)
	if !ok {
		return err
	}
	fields := make([]apperr.Field, 0, len(invalid))
	for _, failure := range invalid {
		fields = append(fields, apperr.Field{Field: failure.Field(), Message: advice(failure)})
	}
	return apperr.InvalidFields(fields...)
}

func advice(failure validator.FieldError) string {
	text := failure.Kind() == reflect.String || failure.Kind() == reflect.Pointer
	switch failure.Tag() {
	case "required":
		return "is required"
	case "email":
		return "must be an email address, such as ada@example.org"
	case "username":
		return "may have letters, digits, _ and -"
	case "oneof":
		return "must be one of " + strings.Join(strings.Fields(failure.Param()), ", ")
	case "min", "gte":
		if text {
			return "must have at least " + failure.Param() + " characters"
		}
		return "must be at least " + failure.Param()
	case "max", "lte":
		if text {
			return "must have at most " + failure.Param() + " characters"
		}
		return "must be at most " + failure.Param()
	}
	return "is not valid"
}

// pathID reads an id from the path. What can't be an id names nothing.
func pathID(c echo.Context, name string) (int64, error) {
	id, err := strconv.ParseInt(c.Param(name), 10, 64)
	if err != nil || id <= 0 {
		return 0, apperr.New(apperr.Invalid, "The %s in the path must be a positive whole number.", name)
	}
	return id, nil
}

// ownPath reads a user and a runbook from the path. The user must be the caller:
// what others have doesn't exist.
func ownPath(c echo.Context) (runbookID int64, err error) {
	id, err := pathID(c, "userId")
	if err != nil {
		return 0, err
	}
	if id != userID(c) {
		return 0, apperr.New(apperr.NotFound, "There is no such session.")
	}
	return pathID(c, "runbookId")
}

// page reads which part of a list is wanted.
func page(c echo.Context) (beforeID int64, limit int, err error) {
	limit = defaultPage
	if text := c.QueryParam("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxPage {
			return 0, 0, apperr.New(apperr.Invalid, "The limit must be a whole number from 1 to %d.", maxPage)
		}
	}
	if text := c.QueryParam("cursor"); text != "" {
		beforeID, err = strconv.ParseInt(text, 10, 64)
		if err != nil || beforeID <= 0 {
			return 0, 0, apperr.New(apperr.Invalid, "The cursor must be the nextCursor of the page before.")
		}
	}
	return beforeID, limit, nil
}

// queryText reads text from the query.
func queryText(c echo.Context, name string) (string, error) {
	text := c.QueryParam(name)
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", apperr.New(apperr.Invalid, "The %s must be valid UTF-8 without the NUL character.", name)
	}
	return text, nil
}

// List is a page of items. NextCursor, where there is one, asks for the next page.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"`
}

// newList makes a page of limit items out of limit+1 rows at most.
func newList[Row, Item any](rows []Row, limit int, id func(Row) int64, item func(Row) Item) List[Item] {
	list := List[Item]{Items: make([]Item, 0, len(rows))}
	if len(rows) > limit {
		rows = rows[:limit]
		list.NextCursor = strconv.FormatInt(id(rows[limit-1]), 10)
	}
	for _, row := range rows {
		list.Items = append(list.Items, item(row))
	}
	return list
}

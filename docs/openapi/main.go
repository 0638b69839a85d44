// Command openapi makes the OpenAPI 3 document out of the Swagger 2.0 one, and
// adds what the older version can't say: that an execution's stream is a union
// of chunks.
//
//	openapi swagger.json openapi.json
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3gen"

	"runbook/pkg/execution"
)

// chunks are what a line of a stream may be, by the value of its type.
var chunks = map[string]any{
	"start":     execution.StartChunk{},
	"output":    execution.OutputChunk{},
	"truncated": execution.TruncatedChunk{},
	"exit":      execution.ExitChunk{},
	"error":     execution.ErrorChunk{},
	"ping":      execution.PingChunk{},
}

const (
	chunkSchema = "Chunk"
	ndjson      = "application/x-ndjson"
	schemas     = "#/components/schemas/"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: openapi swagger.json openapi.json")
	}
	document, err := convert(args[0])
	if err != nil {
		return err
	}
	if err := describeStream(document); err != nil {
		return err
	}
	if err := document.Validate(context.Background()); err != nil {
		return fmt.Errorf("check the document: %w", err)
	}
	encoded, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the document: %w", err)
	}
	return os.WriteFile(args[1], append(encoded, '\n'), 0o600) //nolint:gosec // named on the command line
}

func convert(path string) (*openapi3.T, error) {
	content, err := os.ReadFile(path) //nolint:gosec // named on the command line
	if err != nil {
		return nil, err
	}
	var old openapi2.T
	if err := json.Unmarshal(content, &old); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	document, err := openapi2conv.ToV3(&old)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", path, err)
	}
	return document, nil
}

// describeStream adds the chunks' schemas and their union, and makes every
// NDJSON response one of it.
func describeStream(document *openapi3.T) error {
	union := &openapi3.Schema{
		Description:   "A line of a stream. Clients skip types that they don't know.",
		Discriminator: &openapi3.Discriminator{PropertyName: "type", Mapping: map[string]openapi3.MappingRef{}},
	}
	for _, kind := range slices.Sorted(maps.Keys(chunks)) {
		name := reflect.TypeOf(chunks[kind]).Name()
		schema, err := openapi3gen.NewSchemaRefForValue(chunks[kind], nil, openapi3gen.SchemaCustomizer(readTags))
		if err != nil {
			return fmt.Errorf("describe %s: %w", name, err)
		}
		for _, field := range slices.Sorted(maps.Keys(schema.Value.Properties)) {
			if !optional(chunks[kind], field) {
				schema.Value.Required = append(schema.Value.Required, field)
			}
		}
		document.Components.Schemas[name] = schema
		union.OneOf = append(union.OneOf, openapi3.NewSchemaRef(schemas+name, schema.Value))
		union.Discriminator.Mapping[kind] = openapi3.MappingRef{Ref: schemas + name}
	}
	document.Components.Schemas[chunkSchema] = union.NewRef()
	for _, path := range document.Paths.Map() {
		for _, operation := range path.Operations() {
			for _, response := range operation.Responses.Map() {
				if _, streams := response.Value.Content[ndjson]; streams && response.Value.Description != nil {
					response.Value.Content[ndjson] = &openapi3.MediaType{Schema: openapi3.NewSchemaRef(schemas+chunkSchema, union)}
				}
			}
		}
	}
	return nil
}

// readTags takes over what the fields' tags say.
func readTags(_ string, _ reflect.Type, tag reflect.StructTag, schema *openapi3.Schema) error {
	if values := tag.Get("enums"); values != "" {
		for value := range strings.SplitSeq(values, ",") {
			schema.Enum = append(schema.Enum, value)
		}
	}
	return nil
}

func optional(chunk any, field string) bool {
	for f := range reflect.TypeOf(chunk).Fields() {
		if name, options, _ := strings.Cut(f.Tag.Get("json"), ","); name == field {
			return strings.Contains(options, "omitempty")
		}
	}
	return false
}

package docs

import _ "embed"

// OpenAPI is the description of the API as an OpenAPI 3 document. The older one,
// Swagger 2.0, registers itself with swag.
//
//go:embed openapi.json
var OpenAPI []byte

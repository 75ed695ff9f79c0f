"""The API is never open, never unlimited, and reaches what its links are for and nothing else."""

from tests.template.cloud_template import as_list, chosen, one, referenced, resources, statements, template

API = resources("AWS::Serverless::HttpApi")["Api"]["Properties"]
BODY = API["DefinitionBody"]


def test_every_route_wants_a_signature_or_a_token_and_none_takes_options() -> None:
    for path, methods in BODY["paths"].items():
        assert path == "/{proxy+}"
        assert methods.keys() == {"get", "post"}  # a route for OPTIONS would keep browsers from asking about CORS
        for method in methods.values():
            assert method["security"] == [{"Fn::If": ["Jwt", {"Jwt": []}, {"Iam": []}]}]
    schemes = BODY["components"]["securitySchemes"]
    assert schemes["Iam"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    jwt = schemes["Jwt"]["Fn::If"][1]["x-amazon-apigateway-authorizer"]
    assert jwt["type"] == "jwt"
    assert jwt["jwtConfiguration"] == {"issuer": {"Ref": "JwtIssuer"}, "audience": [{"Ref": "JwtAudience"}]}


def test_tokens_of_an_issuer_are_taken_for_one_audience_alone() -> None:
    rule = template()["Rules"]["TokensHaveAnAudience"]
    assert referenced(rule["RuleCondition"]) == {"JwtIssuer"}
    assert referenced(rule["Assertions"]) == {"JwtAudience"}


def test_requests_are_limited_and_logged_without_what_was_asked() -> None:
    limits = API["DefaultRouteSettings"]
    assert limits["ThrottlingRateLimit"] == limits["ThrottlingBurstLimit"] == {"Ref": "RequestsPerSecond"}
    assert one(API["AccessLogSettings"]["DestinationArn"]) in resources("AWS::Logs::LogGroup")
    for secret in ("queryString", "sourceIp", "$context.authorizer"):
        assert secret not in API["AccessLogSettings"]["Format"]


def test_pages_of_named_origins_alone_may_ask() -> None:
    places = [BODY["x-amazon-apigateway-cors"]]
    places += [bucket["Properties"]["CorsConfiguration"] for bucket in resources("AWS::S3::Bucket").values()]
    for place in places:
        condition, named, otherwise = place["Fn::If"]
        assert (condition, otherwise) == ("Cors", {"Ref": "AWS::NoValue"})
        rules = named.get("CorsRules", [named])
        for rule in rules:
            assert rule.get("AllowedOrigins", rule.get("allowOrigins")) == {"Ref": "CorsOrigins"}
    assert template()["Parameters"]["CorsOrigins"]["Default"] == ""


def test_only_this_api_may_invoke_the_function() -> None:
    (permission,) = resources("AWS::Lambda::Permission").values()
    assert one(permission["Properties"]["FunctionName"]) == "ApiFunction"
    assert "Api" in referenced(permission["Properties"]["SourceArn"])


def test_function_may_do_what_its_links_allow_and_read_lists_by_their_indexes() -> None:
    reach: dict[str, set[str]] = {}
    for name, statement in statements():
        if name == "ApiRole" and statement["Effect"] == "Allow" and "Resource" in statement:
            for action in as_list(statement["Action"]):
                for target in as_list(chosen(statement["Resource"], Gpu=True)):
                    spelt = target.get("Fn::Sub") if isinstance(target, dict) else None
                    reach.setdefault(action, set()).update([spelt] if isinstance(spelt, str) else referenced(target))
    assert reach["s3:GetObject"] == {"${ResultsBucket.Arn}/images/*"}
    assert reach["s3:PutObject"] == {"${InputBucket.Arn}/uploads/*", "${ResultsBucket.Arn}/manifests/*"}
    assert reach["dynamodb:Query"] == {f"${{ImagesTable.Arn}}/index/by_{name}" for name in ("time", "state", "label")}
    assert "dynamodb:Scan" not in reach
    assert "dynamodb:PutItem" not in reach
    assert reach["secretsmanager:GetSecretValue"] == {"PageTokenSecret"}
    assert reach["batch:SubmitJob"] >= {"GpuRequestQueue"}
    assert "GpuJobQueue" not in reach["batch:SubmitJob"]


def test_page_token_key_is_made_by_aws_and_written_nowhere() -> None:
    (secret,) = resources("AWS::SecretsManager::Secret").values()
    assert "SecretString" not in secret["Properties"]
    assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32


def test_function_answers_before_the_gateway_gives_up() -> None:
    assert resources("AWS::Serverless::Function")["ApiFunction"]["Properties"]["Timeout"] < 30


def test_every_index_has_its_partitions_spread_and_no_more_than_lists_show() -> None:
    table = resources("AWS::DynamoDB::Table")["ImagesTable"]["Properties"]
    indexes = {index["IndexName"]: index for index in table["GlobalSecondaryIndexes"]}
    assert indexes.keys() == {"open_images", "by_time", "by_state", "by_label"}
    for name in ("by_time", "by_state", "by_label"):
        keys = [key["AttributeName"] for key in indexes[name]["KeySchema"]]
        assert keys[0].endswith("shard")
        assert keys[1] == "listed_at"
        projection = indexes[name]["Projection"]
        assert projection["ProjectionType"] == "INCLUDE"
        assert not {"predictions", "heatmaps", "explanations"} & set(projection["NonKeyAttributes"])

from flask.testing import FlaskClient


def test_home(web: FlaskClient) -> None:
    assert web.get("/").status_code == 200

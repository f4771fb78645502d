"""The page behind an invitation, in a real browser: password, authenticator, done; and what it refuses."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.world import PASSWORD, World, missing, user

SCREENSHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--no-first-run"],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 900, "height": 760})
    page = context.new_page()
    page.set_default_timeout(10_000)
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    """Keep a picture where SCREENSHOTS names a folder, for people to look at."""
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


def invite(world: World, name: str) -> str:
    world.write(f"users/{name}.yaml", user(name))
    world.wait_event("user.create", name=name)
    url: str = world.tctl_json("users", "invite", name, "-o", "json")["url"]
    return url


def test_somebody_enrols_in_a_browser_and_logs_in_from_a_terminal(world: World, page: Page) -> None:
    page.goto(invite(world, "cleo"))
    shoot(page, "1-password")
    assert "Welcome, cleo" in page.inner_text("h1")

    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("button")
    shoot(page, "2-authenticator")
    page.click("summary")
    uri = page.inner_text("#otpauth")
    secret = re.search(r"secret=([A-Z2-7]+)", uri)
    assert secret is not None
    page.fill("#code", pyotp.TOTP(secret[1]).now())
    page.click("button")
    shoot(page, "3-done")

    assert "You are set up, cleo" in page.inner_text("h1")
    cleo = world.person("cleo")
    cleo.secret = secret[1]
    result = cleo.tsh("login", "--proxy", world.proxy, "--user", "cleo", "--password-stdin", "--mfa-code", cleo.code(),
                      "--ca-pin", world.pin, stdin=PASSWORD + "\n")  # fmt: skip
    assert result.status == 0, result.errors


def test_passwords_that_differ_or_are_weak_are_explained_on_the_page(world: World, page: Page) -> None:
    page.goto(invite(world, "dora"))

    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD + "x")
    page.click("button")
    differing = page.inner_text("[role=alert]")
    page.fill("#password", "password12")
    page.fill("#again", "password12")
    page.click("button")
    weak = page.inner_text("[role=alert]")
    shoot(page, "4-weak")

    assert differing == "The two passwords differ."
    assert weak == "The password is one of the first that would be tried."


def test_a_wrong_code_can_be_corrected(world: World, page: Page) -> None:
    page.goto(invite(world, "elke"))
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("button")

    page.fill("#code", "000000")
    page.click("button")

    assert page.inner_text("[role=alert]") == "The code is wrong."
    page.click("summary")
    secret = re.search(r"secret=([A-Z2-7]+)", page.inner_text("#otpauth"))
    assert secret is not None
    page.fill("#code", pyotp.TOTP(secret[1]).now())
    page.click("button")
    assert "You are set up" in page.inner_text("h1")


def test_an_invitation_that_does_not_exist_is_refused_in_words(world: World, page: Page) -> None:
    response = page.goto(f"https://{world.proxy}/web/invite/nonsense")

    shoot(page, "5-refused")
    assert response is not None
    assert response.status == 404
    assert "does not exist, has expired or was used" in page.inner_text("[role=alert]")


def test_a_form_from_elsewhere_is_refused(world: World, page: Page) -> None:
    url = invite(world, "fred")
    page.goto("data:text/html,<form method=post><input name=password><input name=again><button>go</button></form>")
    page.evaluate("url => { document.forms[0].action = url }", url)

    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("button")

    assert "does not come from this page" in page.inner_text("[role=alert]")


def test_the_page_runs_no_script_and_leaks_no_link(world: World, page: Page) -> None:
    page.goto(invite(world, "gina"))

    response = page.request.get(page.url)

    headers = response.headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "<script" not in response.text()


def test_the_page_reads_well_in_the_dark(world: World, browser: Browser) -> None:
    context = browser.new_context(ignore_https_errors=True, color_scheme="dark", viewport={"width": 390, "height": 760})
    page = context.new_page()
    page.goto(invite(world, "hana"))
    shoot(page, "6-dark-phone")

    width = page.evaluate("document.documentElement.scrollWidth")

    assert width <= 390
    context.close()
